"""Reports for people: text tables for a terminal, one static page with figures. Reads studies, computes nothing new."""
