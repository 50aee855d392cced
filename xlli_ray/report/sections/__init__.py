"""Sections that lie apart from the probe or analysis that they show, by lines of `registry.SECTIONS` (`report.section`)."""
