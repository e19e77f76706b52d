"""The classes of the published datasets, in label order; they are written here and nowhere else."""

# ARID, Xu et al., arXiv:2006.03876, section 3: the eleven classes.
ARID11 = (
    "Drink", "Jump", "Pick", "Pour", "Push", "Run", "Sit", "Stand", "Turn", "Walk", "Wave",
)  # fmt: skip
# InfAR, Gao et al., Neurocomputing 212 (2016): the twelve classes, as its folders spell them.
INFAR12 = (
    "fight", "handclapping", "handshake", "hug", "jog", "jump",
    "punch", "push", "skip", "walk", "wave1", "wave2",
)  # fmt: skip
