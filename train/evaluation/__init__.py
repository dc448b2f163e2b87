"""The evaluation, one noun a file: what `python -m train evaluate` measures and what each figure is compared with.

The evaluator network of `checkpoints/evaluator` only reports: nothing here chooses, ranks or trains.
"""
