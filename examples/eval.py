#!/usr/bin/env python3
"""Evaluates a checkpoint of train.py on the digits that the training has not seen.

usage: examples/eval.py CHECKPOINT

It prints a JSON object, which run-eval uses as the metrics.
"""

import json
import pickle
import sys

from train import accuracy, read_digits

with open(sys.argv[1], "rb") as file:
    weights = pickle.load(file)["weights"]
_, test = read_digits()
of_digits = []
for digit in range(10):
    images, labels = zip(*(one for one in test if one[1] == digit))
    of_digits.append(accuracy(weights, images, labels))
print(json.dumps({"accuracy": accuracy(weights, *zip(*test)), "least_of_a_digit": min(of_digits)}))
