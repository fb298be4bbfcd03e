"""Every constant of ``memory-heads``, with its reason.

The unit of all scores is a point of BM25.  BM25 adds up evidence in the manner of log odds, so what else is evidence is
put on the same scale and added.  The numbers were set by hand and rounded, each for the reason given, and checked by
coarse comparisons on development questions of several kinds (conversations, abstracts, code) with two embedders; no
optimiser chose them.  Around most of them the quality is flat: half or twice as much costs a point or two, which is
why they carry over (the weight of links is the exception: it decides whether what is reached comes first).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple


class Row(NamedTuple):
    """A head's weight for a record in a thread (a turn of a conversation) and for a plain one (a note, a document)."""

    threaded: float
    plain: float


WEIGHTS = MappingProxyType(
    {
        # A standard deviation of the embedder's background similarity.  Turns are short and chatty, so that their
        # vectors say less than those of passages.
        "semantic": Row(4.0, 6.0),
        # BM25 itself: the unit.
        "lexical": Row(1.0, 1.0),
        # A pair of query words together says half as much again as the rarer of the two alone.
        "phrase": Row(0.5, 0.5),
        # What a text is about it says at its beginning, title or name.  Times what the gate adds to words, so that it
        # counts where vectors say little; a turn is all beginning.
        "lead": Row(0.0, 1.0),
        # MaxSim spans about 0.4 between the best and the worst candidate: 25 makes that 10 points, as much as BM25
        # spans on turns.  Long documents hold something similar to any word, hence less for plain records.
        "late": Row(25.0, 20.0),
        # A turn is understood from the turns around it: with e^(−Δ/2) all six neighbours together weigh 0.85 of the
        # turn itself.  Plain records have none.
        "neighbours": Row(0.35, 0.0),
        # Candidates that resemble each other vouch for each other.  In a thread the neighbours do that better.
        "peers": Row(0.0, 0.35),
        # A sitting that holds one good hit is more likely to hold another.
        "session": Row(0.2, 0.0),
        # The square of the certainty that points at a record: one link from the first of several good hits brings
        # some ten points, a record that all good hits lead to (what they have in common) comes before them.
        "links": Row(60.0, 60.0),
        # In a hierarchy what the best candidates have in common is the answer, unless one of them stands out.  Half of
        # all certainty below a record that one in fifty stands below brings 300 points: more than any hit has by
        # itself, as it must.  Chosen on WordNet's training queries, where the quality is flat from 60 to 200.
        "ancestors": Row(150.0, 150.0),
        # The time that the query names is a strong hint, still below a rare word (idf × (K1 + 1) reaches 13).
        "time": Row(8.0, 8.0),
        # So is the speaker that it names, whose name alone may be in every text.
        "speaker": Row(10.0, 10.0),
        # Asked for a time, prefer turns that tell one; and what asks seldom answers.  See heads.form.
        "form": Row(1.0, 0.0),
        # From the oldest to the newest candidate; next to nothing, unless the query asks for the present state.
        "recency": Row(0.25, 0.25),
        # From 0 to 1, so at most half a point from the default of 0.5: it settles near-ties.
        "importance": Row(1.0, 1.0),
        # From −1 to 1; 0 until something was learnt.
        "feedback": Row(4.0, 4.0),
    }
)

TELLS_TIME = 4.0
"""Points for a turn that tells a time when the query asks for one."""

ASKS = 2.0
"""Points off for a turn that is a question."""

LATEST_FACTOR = 20.0
"""Times the weight of recency when the query asks for what is so now: 5 points from the oldest to the newest."""

NEIGHBOUR_DECAY = 0.5
"""A neighbour Δ turns away weighs e^(−Δ/2): 0.61, 0.37, 0.22."""

PEER_TEMPERATURE = 0.35
"""In background deviations (about 0.04 of cosine for the bundled model): only close resemblance counts."""

LINK_TEMPERATURE = 0.2
"""In background deviations: how sharply certainty is shared among the first-round candidates that point at records."""

LINK_SOURCES = 10
"""The best first-round candidates whose links are followed."""

ANCESTOR_SOURCES = 30
"""The best first-round candidates from which a hierarchy is climbed."""

ANCESTOR_TEMPERATURE = 12.0
"""In points: how sharply certainty is shared among them.  A candidate that is better than the next by a rare word takes
most of it."""

TIME_AFTER_DAYS, TIME_BEFORE_DAYS = 7.0, 2.0
"""The match with a named time fades over a week after it (things are told afterwards) and over two days before it."""

POOL_DEVIATIONS = 4.0
"""Where the background is not known, the first-round pool is taken to span four background deviations, as it does for
small sentence embedders."""

GATE_SLOPE, GATE_CENTRE = 0.6, 4.0
"""A dense first hit that stands four background deviations out leaves the lexical heads as they are; each further
deviation takes a third off them, each one less adds half."""

VECTORS_GAIN = 0.5
"""Where the gate takes weight off words, late interaction loses as much (its pieces are words too), and the semantic
head gains the square root of it; where the gate gives words more, these two stay as they are."""

LEAD_WORDS = 12
"""The beginning of a text: the length of a title, or of a function's name with its parameters."""

GATE_BOUNDS = (0.5, 2.0)
"""An unbounded gate does not carry over to collections that it was not fitted on."""

RRF_CONSTANT = 60.0
"""Cormack, Clarke and Büttcher (SIGIR 2009)."""

FULL_QUERY = 30.0
"""The idf of a whole query (about nine content words) up to which BM25 counts in full.  The words of a longer query are
ever less independent of each other, so that its BM25 is scaled down to what one of this size could give."""
