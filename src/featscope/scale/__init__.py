"""Run many jobs in parallel, on this machine's cores or on a cluster."""
