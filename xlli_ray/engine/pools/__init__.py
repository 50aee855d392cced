"""Who the workers are: this process, a private Ray, or a cluster of others."""
