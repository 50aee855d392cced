"""Motion between the frames of a clip: the stage `flow`, and its estimators, one file each."""
