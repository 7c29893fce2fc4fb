"""The torch half: packed batches to checkpoints. Never imports pyspark."""
