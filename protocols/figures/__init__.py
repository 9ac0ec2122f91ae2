"""The paper's Figures 4, 5 and 6 from what runs, trained models and data trees hold.

``footage`` reads clips and what methods made of them, ``panels`` arranges them, ``__main__`` is the command. Drawing is
``results.figures``' business.
"""
