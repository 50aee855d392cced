"""Tables: samples, scalars, results of analyses, and SQL over them."""
