"""Abbreviations, and words that often begin a sentence: whether a "." after a word can end a sentence."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Never the end of a sentence: titles, before a name.
BEFORE_NAMES = _words(
    "Dr Mr Mrs Ms Mx Prof St Mt Ft Gen Sen Rep Gov Capt Cpt Cmdr Lt Col Sgt Maj Rev Hon Pres Supt Messrs Mme Mlle Sra "
    "Srta Hr Fr Univ"
)
#: Never the end of a sentence: they introduce the words that follow.
INTRODUCTIONS = _words(
    "e.g i.e eg ie cf viz vs approx resp incl esp ibid z.b d.h u.a o.ä bzw vgl ggf evtl inkl bspw ca p.ex"
)
#: Not the end of a sentence before a number.
BEFORE_NUMBERS = _words(
    "no nos nr num p pp pg fig figs eq eqs sec ch chap vol art abs max min v ver op circa c est tel ext abb"
)
#: The end of a sentence only before one of `SENTENCE_STARTERS`.
SOMETIMES_FINAL = _words(
    "al inc ltd co corp bros jr sr esq dept assn ave blvd rd hwy apt a.m p.m b.c a.d ph.d m.d d.c u.s u.k u.n e.u mio "
    "mrd"
)
#: Like `SOMETIMES_FINAL`, with a capital letter only: "Sun." but not "the sun."
DATES = _words("Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec Mon Tue Tues Wed Thu Thur Thurs Fri Sat Sun")
#: Words that often begin a sentence.
SENTENCE_STARTERS = _words(
    "a an the this that these those it its he she they we you i his her their our my your one another some many most "
    "all each every both such no not yes in on at for from with by as if when while after before since because though "
    "although but and or so yet however therefore thus then there here what who whom whose where why how which is are "
    "was were do does did can could should would will may let now next also finally meanwhile today first second "
    "please despite according during until unless once"
)
