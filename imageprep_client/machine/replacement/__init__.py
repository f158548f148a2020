"""Roots that take the place of others, with the way back kept open.

`swap` exchanges two roots while the machine is stopped; `journal` makes that
survive a kill; `carrying` gives the new root what belongs to the machine;
`versions` names the roots that are kept; `replacing` has the use cases.
"""
