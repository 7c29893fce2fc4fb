"""Counts of a sample: lines = impressions + merged + rejected, the faults' rates and counts, the oracle's AUC."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from jobs.synthetic.faults import GOOD, LATE_RATE, MALFORMED_RATE, REDELIVERED_RATE
from jobs.synthetic.malformed import KINDS, reason_of
from jobs.synthetic.messages import RATES
from jobs.synthetic.sections import Section
from jobs.synthetic.sizes import DAY, DAYS, Floats, as_times

LINE_RATES = {"redelivered": REDELIVERED_RATE, "late": LATE_RATE, "malformed": MALFORMED_RATE}


class SampleCounts:
    """Counts of all sections, added up one by one."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._auc: list[Floats] = []
        self._auc_last_day: list[Floats] = []

    def add(self, section: Section) -> None:
        """Add the counts of a section."""
        log, fault_D = section.log, section.deliveries.fault_D
        by_kind = np.bincount(fault_D[fault_D != GOOD], minlength=len(KINDS)).tolist()
        for kind, count in enumerate(by_kind):
            self._reasons[reason_of(kind)] += count
        self._faults.update(section.messages.counts | section.deliveries.counts)
        self._counts.update(
            lines=len(fault_D),
            impressions=len(log.id_I),
            rejected=sum(by_kind),
            shown=len(log.news_P),
            clicks=int(log.clicked_P.sum()),
            users=len(np.unique(log.user_I)),
        )
        if section.auc_I is not None:
            self._auc.append(section.auc_I)
            self._auc_last_day.append(section.auc_I[log.time_I >= (DAYS - 1) * DAY])

    def counts(self) -> dict[str, Any]:
        """The contents of counts.json."""
        found = self._counts
        oracle = {"oracle_auc": self._auc, "oracle_auc_last_day": self._auc_last_day} if self._auc else {}
        return {
            "lines": found["lines"],
            "impressions": found["impressions"],
            "merged": found["lines"] - found["impressions"] - found["rejected"],
            "rejected": found["rejected"],
            "rejected_by_reason": dict(self._reasons),
            "faults": {
                name: {"rate": rate, "count": self._faults[name]} for name, rate in (LINE_RATES | RATES).items()
            },
            "clicks": found["clicks"],
            "mean_shown": round(found["shown"] / found["impressions"], 3),
            **{name: round(float(np.nanmean(np.concatenate(aucs))), 6) for name, aucs in oracle.items()},
            "last_day": str(as_times(np.array([(DAYS - 1) * DAY]))[0])[:10],
            "users": found["users"],
        }
