"""Labels on the page for the names that jobs and files use."""

from __future__ import annotations

POLICIES = {
    "naive_per_target": "one sample per click",
    "naive": "one pass per user",
    "once": "each news once per batch",
    "cached": "vectors kept for some steps",
    "accumulated": "encoder updated every few steps",
    "carried": "gradients of look-ups carried on",
}
METHODS = {
    "model": "this model",
    "zero_shot": "untrained language model",
    "popularity": "popularity in training",
    "recent_clicks": "clicks of the last day",
    "recent_rate": "click rate of the last day",
    "recency": "newest first",
    "category": "category match",
    "oracle": "oracle",
}
SLICES = {
    "history length": "AUC by clicks in the history",
    "new news": "AUC by whether a clicked news is new to the model",
    "new users": "AUC by whether the user is new to it",
}
METRICS = {"auc": "AUC", "mrr": "MRR", "ndcg5": "nDCG@5", "ndcg10": "nDCG@10"}
MERGED = {
    "replayed": "the same line again, or nothing new in it",
    "retold": "the same id again, with other marks or times",
    "double_logged": "the same view under another id",
}


def method(name: str) -> str:
    """The label of a method that scored the impressions."""
    return METHODS.get(name, name.replace("_", " "))


def policy(name: str) -> str:
    """The label of a policy, with its name."""
    return f"{POLICIES[name]} ({name})" if name in POLICIES else name
