"""English chunks that do not split by the general rules: contractions, abbreviations, emoticons.

The table agrees with the tokenizer exceptions of spaCy 3.8 for English (github.com/explosion/spaCy, MIT licence),
which datatrove's filters count words with; `tests/pipeline/filters/test_words.py` compares them where spaCy is there.
"""

from __future__ import annotations

from itertools import product

_QUESTIONS = ("how", "what", "when", "where", "who", "why")
_SUBJECTS = (*_QUESTIONS, "i", "you", "he", "she", "it", "we", "they", "there", "that", "this", "these", "those")
_ENDINGS = {
    **dict.fromkeys((("d",), ("ll",), ("d", "ve"), ("ll", "ve")), _SUBJECTS),
    ("s",): (*_QUESTIONS, "he", "she", "it", "there", "that", "this"),
    ("re",): (*_QUESTIONS, "you", "we", "they", "there", "these", "those"),
    ("ve",): (*_QUESTIONS, "i", "you", "we", "they", "there", "these", "those"),
    ("m",): ("i",),
}
"""Endings that follow an apostrophe, and what they may be attached to."""
_WORDS_OF_THEIR_OWN = {"ill", "hell", "shell", "well", "shed", "its", "were", "whore"}
_NEGATED_PERFECT = "ca could did does do had may might must need ought sha should wo would"
_NEGATED = f"{_NEGATED_PERFECT} ai are dare has have is was were"
_OTHERS = (
    *(("can", "not"), ("gon", "na"), ("got", "ta"), ("i", "m", "a")),
    *((word, f"{mark}ve") for word in ("could", "might", "must", "should", "would", "not") for mark in ("'", "’", "")),
    *(part for a in "'’" for part in (("let", f"{a}s"), ("i", f"{a}m", "a"), (f"c{a}m", "on"))),
    *(part for a in "'’" for part in (("how", f"{a}d", f"{a}y"),)),
)
_ABBREVIATIONS = """
Adm. Ak. Ala. Apr. Ariz. Ark. Aug. Bros. Calif. Co. Colo. Conn. Corp. D.C. Dec. Del. Dr. E.G. E.g. Feb. Fla. Ga. Gen.
Gov. I.E. I.e. Ia. Id. Ill. Inc. Ind. Jan. Jr. Jul. Jun. Kan. Kans. Ky. La. Ltd. Mar. Mass. Md. Messrs. Mich. Minn.
Miss. Mo. Mont. Mr. Mrs. Ms. Mt. N.C. N.D. N.H. N.J. N.M. N.Y. Neb. Nebr. Nev. Nov. Oct. Okla. Ore. Pa. Ph.D. Prof.
Rep. Rev. S.C. Sen. Sep. Sept. St. Tenn. Va. Wash. Wis. a.m. co. e.g. i.e. p.m. v.s. vs. and/or w/o C++
"""
_CLIPPED = "o'clock ma'am 'cause 'cos 'coz 'cuz ol' doin' goin' havin' lovin' nothin' nuthin' somethin'"
_LONE_ENDINGS = "'S 's 'd 'll 're 'bout 'em 'nuff"
_EMOTICONS = r"""
(*_*) (-8 (-: (-; (-_-) (._.) (: (; (= (>_<) (^_^) (o: (¬_¬) (ಠ_ಠ) )-: ): -_- -__- ._. 0.0 0.o 0_0 0_o 8) 8-) 8-D 8D
:'( :') :'-( :'-) :( :(( :((( :() :) :)) :))) :* :-( :-(( :-((( :-) :-)) :-))) :-* :-/ :-0 :-3 :-> :-D :-O :-P :-X :-]
:-o :-p :-x :-| :-} :/ :0 :1 :3 :> :D :O :P :X :] :o :o) :p :x :| :} :’( :’) :’-( :’-) ;) ;-) ;-D ;D ;_; <.< </3 <3
<33 <333 =( =) =/ =3 =D =[ =] =| >.< >.> >:( >:o ><(((*> @_@ O.O O.o O_O O_o V.V V_V XD XDD [-: [: [= ]= ^_^ ^__^
^___^ o.0 o.O o.o o_0 o_O o_o v.v v_v xD xDD ಠ_ಠ ಠ︵ಠ \") \n \t ¯\(ツ)/¯ (╯°□°）╯︵┻━┻ <space>
"""


def _capitalised(word: str) -> str:
    return word[:1].upper() + word[1:]


def _contractions() -> dict[str, tuple[str, ...]]:
    found: list[tuple[str, ...]] = list(_OTHERS)
    for endings, subjects in _ENDINGS.items():
        for subject, mark in product(subjects, ("'", "’", "")):
            found.append((subject, *(mark + ending for ending in endings)))
    for verb, negation in product(_NEGATED.split(), ("n't", "n’t", "nt")):
        found.append((verb, negation))
        if verb in _NEGATED_PERFECT.split():
            found.append((verb, negation, negation[1:-1] + "ve"))
    table = {"".join(parts): parts for parts in found if "".join(parts) not in _WORDS_OF_THEIR_OWN}
    table |= {_capitalised(word): (_capitalised(parts[0]), *parts[1:]) for word, parts in table.items()}
    table |= {f"°{scale}.": ("°", scale, ".") for scale in "CFKcfk"}
    table |= {a + "all": (a, "all") for a in ("y", "y'", "y’")}
    table |= {f"{hour}{half}": (str(hour), half) for hour in range(1, 13) for half in ("am", "pm", "a.m.", "p.m.")}
    return table


def _whole() -> set[str]:
    words = set(_LONE_ENDINGS.split()) | {"''"}
    for word in _CLIPPED.split():
        words |= {word, "'" + _capitalised(word[1:]) if word[0] == "'" else _capitalised(word)}
    words |= {word.replace("'", "’") for word in words}
    words |= {f"{letter}." for letter in "abcdefghijklmnopqrstuvwxyzäöü"}
    return words | {"‘S", "‘s", *_ABBREVIATIONS.split(), *_EMOTICONS.split()}


SPECIAL: dict[str, tuple[str, ...]] = _contractions() | {word: (word,) for word in _whole()}
"""Chunks and the words they are, whatever the general rules would make of them."""
