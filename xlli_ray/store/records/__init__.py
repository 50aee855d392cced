"""What is planned, what is done and by whom: plan documents, unit records, lease, digests."""
