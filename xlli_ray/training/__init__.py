"""Small networks trained for causal experiments: twins that differ in exactly one respect.

`recipe.py` says what is trained, `corpus.py` on which files, `images.py` scans and loads them as a study does, `data.py` draws the crops,
`steps.py` says where a training starts and how far each step goes, `loop.py` trains one network, `gan.py` is its adversarial stage,
`validation_scores.py` scores it, `card.py` writes what is shipped with the weights, `run.py` runs a whole recipe or grid.
Importing this package, or `recipe`, imports no torch.
"""
