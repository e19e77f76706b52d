"""The name maps: how each family's published weights are called, and what they were trained on.

A file has `ARCHS`, name -> `arch.Arch`; the table of all of them is `darkjax.weights.zoo`.
"""
