"""The derivation's example, and the numbers that it prints: one row, three inputs, five classes, of which the third."""

from __future__ import annotations

import numpy as np

from xegrad import Problem, Targets

WEIGHTS = [[0.1, 0.2, 0.3, 0.4, 0.5], [0.6, 0.7, 0.8, 0.9, 0.1], [0.11, 0.12, 0.13, 0.14, 0.15]]
INPUTS = [0.1, 0.5, 0.4]
LABEL = 2
PROBLEM = Problem(np.array(WEIGHTS), np.array([INPUTS]), Targets(labels=np.array([LABEL])))

# Typed from the derivation: S, the loss, and dL/dW in W's layout, to eight decimals.
PROBABILITIES = [0.19091352, 0.20353145, 0.21698333, 0.23132428, 0.15724743]
LOSS = 1.5279347484961026
GRADIENT = [
    [0.01909135, 0.02035314, -0.07830167, 0.02313243, 0.01572474],
    [0.09545676, 0.10176572, -0.39150833, 0.11566214, 0.07862371],
    [0.07636541, 0.08141258, -0.31320667, 0.09252971, 0.06289897],
]
HALF_A_UNIT = 0.5e-8 * (1 + 1e-6)  # of the eighth decimal; the typed number itself is off by an ulp
