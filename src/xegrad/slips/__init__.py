"""What people get wrong in this gradient: the catalogue, its formulas, and slips put into a derivation.

Examples
--------
>>> SLIPS["sign-flipped"].sentence
'Every entry has the opposite sign.'
"""

from __future__ import annotations

from xegrad.slips.catalogue import SLIPS as SLIPS
from xegrad.slips.entry import STAGES as STAGES
from xegrad.slips.entry import Slip as Slip
