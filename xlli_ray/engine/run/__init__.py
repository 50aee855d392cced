"""One run of a study: scan → plan → units → tables → analyses. Depends only on the protocol of pools."""
