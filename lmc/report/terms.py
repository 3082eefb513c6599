"""Words that a reader of the report may not know, in a sentence each."""

from __future__ import annotations

TERMS = {
    "path": "The networks (1 − t)·A + t·B, weight by weight, for t from 0 (A) to 1 (B).",
    "barrier": "The greatest height of the loss (or of the error) along the path above the chord, the straight line "
    "between its values at both ends. Near zero: the path never leaves the region of low loss, and the two networks "
    "are linearly mode connected.",
    "alignment": "A permutation of B's units (and of all weights that belong to them) that brings B close to A. B's "
    "function stays exactly the same; only the place of its units changes.",
    "interval": "How sure a number is, given the examples it was measured on. The networks are held fixed: intervals "
    "do not say how another pair of networks would do.",
    "error": "Share of the examples that are classified wrongly: 1 minus the accuracy.",
    "saddle": "The least loss that every path between two modes on the grid has to reach. At a level below it the two "
    "lie in different components.",
    "component": "A connected region of the plane in which the loss is at most the level.",
    "mode": "A solution that training found: a network that solves the task.",
    "tolerance": "The barrier up to which two networks count as connected.",
    "similarity": "Cosine between the weights of a unit of A and of the unit of B at its place.",
    "transport plan": "How much of each unit of B goes to each unit of A; a permutation is a plan that sends each unit "
    "to one place.",
    "fusion": "One network made of several, of the size of one.",
    "ensemble": "The mean of the predictions of all networks: as good as it gets, at the cost of running them all.",
    "control": "A pair whose answer is known beforehand: it tells whether the test gives it.",
}
