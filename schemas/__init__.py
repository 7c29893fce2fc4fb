"""Contracts: what each table, batch and directory holds. No I/O; imports nothing of ours."""
