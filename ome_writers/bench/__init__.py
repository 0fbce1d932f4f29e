"""Measurements on the machine at hand: what a frame costs, and how near the writers come to the bare disk.

`overhead`: importing, compiling, and the way of a frame into a writer that does nothing. `contenders` says who can
write what was described, `pictures` makes the frames, `race` lets each contender write them in a process of its own
(`worker`, which looks at itself through `process`), `results` sums up what that took, and `chart` draws it.
"""
