"""Code shared by analyses: access to a study, groups of trainings, labels, Gram matrices, thumbnails, freshness of results."""
