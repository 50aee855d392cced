"""What analyses have in common: access to a study, groups of trainings, labels, matrix products, and which results are fresh."""
