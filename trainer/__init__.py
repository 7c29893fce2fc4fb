"""The torch half: trains on packed batches, evaluates and serves checkpoints. Never imports pyspark."""
