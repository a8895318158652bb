"""Words that mean the opposite of each other, and words that may stand for each other."""

from __future__ import annotations

from .pair_words import word_groups

__all__ = ["POLES", "SYNONYMS"]


def _poles(text: str) -> dict[str, tuple[int, int]]:
    poles: dict[str, tuple[int, int]] = {}
    for axis, line in enumerate(text.strip().splitlines()):
        for pole, side in enumerate(line.split("|")):
            for word in side.split():
                poles[word] = (axis, pole)
    return poles


POLES = _poles("""
more greater larger bigger higher taller heavier longer older faster stronger | less fewer smaller lower shorter lighter younger slower weaker
most greatest largest biggest highest tallest heaviest longest oldest fastest strongest maximum max maximize maximise | least fewest smallest lowest shortest lightest youngest slowest weakest minimum min minimize minimise
best better good advantage advantages pros benefits benefit strengths strength | worst worse bad disadvantage disadvantages cons drawbacks drawback weaknesses weakness
before prior | after following
above over | below under beneath
increase increases increasing increased gain gaining raise raising grow | decrease decreases decreasing decreased lose losing reduce reducing lower lowering shrink
buy buying purchase purchasing | sell selling
open opening | close closing shut
enable enabling activate | disable disabling deactivate
start starting begin beginning | stop stopping end ending quit quitting
import importing | export exporting
encode encoding encrypt encrypting compress | decode decoding decrypt decrypting decompress
upload uploading | download downloading
install installing | uninstall uninstalling
add adding insert include including | remove removing delete deleting exclude
up upward | down downward
left | right
north northern | south southern
east eastern | west western
cheap cheapest cheaper | expensive dearest
hot hottest hotter warm | cold coldest colder cool
early earlier earliest | late later
inside indoor indoors | outside outdoor outdoors
push | pull
win winning won | lost
lend lending | borrow borrowing
male males man men boy boys boyfriend husband father son he his him | female females woman women girl girls girlfriend wife mother daughter she her
parent parents | child children
introvert introverts | extrovert extroverts
ascending | descending
horizontal horizontally | vertical vertically
positive | negative
true | false
legal legally | illegal illegally
public | private
income revenue | expense expenses
profit profits | loss losses
input inputs | output outputs
minor | major
internal internally | external externally
front | back
love | hate
accept accepting | reject rejecting refuse
always | sometimes
all every | some
send sending | receive receiving
teach teaching | learn learning
import | export
save saving | spend spending
attack attacking | defend defending
allow allowed | forbid forbidden banned
safe | dangerous
possible | impossible
married | single
rich | poor
new | old
first | last
same | different
fully entirely completely wholly | partially partly
day | night
sunrise | sunset
ancestor ancestors | descendant descendants
plaintiff | defendant
employer employers | employee employees
seller sellers | buyer buyers
teacher teachers | student students
landlord landlords | tenant tenants
""")
"""Opposites: word to (axis, pole). Both texts may stand on one pole, or only one text may speak of it."""

SYNONYMS = word_groups("""
make create build produce
earn make
get obtain acquire
buy purchase
fast quick quickly rapidly rapid
fastest quickest
easy simple easily
best greatest ideal top finest
big large huge
improve enhance better
start begin
find locate
fix repair resolve solve
help assist
show display
use utilize utilise using
happen occur
choose select pick
movie film
movies films
job career work
photo picture image
photos pictures images
phone mobile smartphone cellphone
car automobile
kid child
kids children
way method approach
ways methods
reason cause
reasons causes
difference distinction
differences distinctions
meaning definition define
example instance
examples instances
important essential crucial
company firm business
error mistake bug
delete remove erase
speak talk
learn study
teach instruct
think believe
opinion view thought
opinions views thoughts
effect impact consequence
effects impacts consequences
affect influence
benefit advantage
benefits advantages pros
disadvantage drawback
disadvantages drawbacks cons
lose shed
fat weight
afraid scared
angry mad
sick ill
doctor physician
teacher instructor
students pupils
money cash
price cost
cheap inexpensive affordable
trip journey
house home
city town
shop store
answer reply respond
ask question
explain describe
allow permit
need require
want wish
like enjoy
hate dislike
stop quit cease
keep maintain
end finish
look appear
wrong incorrect
possible feasible
difficult hard
main primary
kind type sort
kinds types sorts
website site webpage
email mail
internet online web
app application
apps applications
program software
programming coding
function method
list array
maximum max
minimum min
usa america
uk britain
pm minister
exam test
exams tests
degree diploma
university college
guy man
wife spouse
""")
"""Words that may stand for each other; the first of a line is the one compared. Chains are not followed."""
