"""Contracts: what each table, batch and directory holds. Imports no other package of ours."""
