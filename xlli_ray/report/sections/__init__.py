"""Sections outside of the class of their probe or analysis, registered in `registry.SECTIONS` (`report.section`)."""
