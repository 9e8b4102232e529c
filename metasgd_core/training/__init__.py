"""What stands behind ``meta_train``, one reason to change a file.

`learned`: theta and alpha as they are held; `outer`: the optimiser's step; `draws`: the tasks and
their data; `saved`: the checkpoint; `gradient` and `compiled`: the meta-gradient; `whole`:
both in one compiled call; `processes`: shared out; `checkpoint`: the file.
"""
