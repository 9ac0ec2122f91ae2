"""The paper's Tables 3 and 4: variants of FC-TFG trained on one budget from one start, and scored on held-out puppets.

``plan`` says what is trained, ``start`` what it is trained from, ``steps`` carries it out, ``__main__`` is the command.
What becomes of the rows is ``results.ablation``'s business.
"""
