"""Word lists behind the guards of near-duplicate matching: numbers, units, opposites, names, small words.

They are data, written by hand for English; other languages are told apart, not understood.
"""

from __future__ import annotations

__all__ = [
    "ANAPHORA",
    "FUNCTION",
    "LANGUAGES",
    "LIGHT",
    "MONTHS",
    "NAMES",
    "NEGATIONS",
    "NUMBERS",
    "PREFIXED",
    "STARTERS",
    "TIMES",
    "UNITS",
    "UNITS_AFTER_NUMBER",
    "WEEKDAYS",
    "word_groups",
    "word_set",
]


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text as a set."""
    return frozenset(text.split())


def word_groups(text: str) -> dict[str, str]:
    """Map every word of a line to the line's first."""
    return {word: line.split()[0] for line in text.strip().splitlines() for word in line.split()}


_ZERO_TO_TWENTY = """zero . two three four five six seven eight nine ten eleven twelve thirteen fourteen
fifteen sixteen seventeen eighteen nineteen twenty"""  # "one" is a pronoun more often than a number

NUMBERS = {
    word: str(value) for value, word in enumerate(_ZERO_TO_TWENTY.split()) if word != "."
} | {
    "thirty": "30",
    "forty": "40",
    "fifty": "50",
    "sixty": "60",
    "seventy": "70",
    "eighty": "80",
    "ninety": "90",
    "twenties": "20s",
    "thirties": "30s",
    "forties": "40s",
    "fifties": "50s",
    "sixties": "60s",
    "seventies": "70s",
    "eighties": "80s",
    "nineties": "90s",
    "hundred": "100",
    "thousand": "1000",
    "million": "1000000",
    "billion": "1000000000",
    "trillion": "1000000000000",
    "dozen": "12",
    "once": "1x",
    "twice": "2x",
    "thrice": "3x",
    "double": "double",
    "triple": "triple",
    "half": "half",
    "first": "1st",
    "third": "3rd",
    "fourth": "4th",
    "fifth": "5th",
    "sixth": "6th",
    "seventh": "7th",
    "eighth": "8th",
    "ninth": "9th",
    "tenth": "10th",
}
"""Words that are numbers, and how they are written in figures."""

MONTHS = word_groups("""
january
february
april
june
july
august
september sept
october
november
december
""")
"""Months that are nothing else; `may` and `march` count beside a number or after `in`."""

WEEKDAYS = word_groups("""
monday mondays
tuesday tuesdays
wednesday wednesdays
thursday thursdays
friday fridays
saturday saturdays
sunday sundays
christmas xmas
easter
halloween
thanksgiving
spring
summer
autumn
winter
weekend weekends
weekday weekdays
noon midday
midnight
morning mornings
afternoon afternoons
evening evenings
""")

UNITS = word_groups("""
% percent percentage
$ dollar dollars usd
€ euro euros eur
£ gbp sterling
₹ rupee rupees rs inr
¥ yen jpy yuan
cent cents
km kilometer kilometers kilometre kilometres
mile miles mi
meter meters metre metres
cm centimeter centimeters centimetre centimetres
mm millimeter millimeters millimetre millimetres
inch inches
yard yards
hectare hectares
acre acres
kg kilogram kilograms kilo kilos kgs
gram grams
mg milligram milligrams
ton tons tonne tonnes
ounce ounces oz
lb lbs
liter liters litre litres
ml milliliter milliliters millilitre millilitres
gallon gallons
pint pints
celsius centigrade
fahrenheit
kelvin
minute minutes mins
hour hours hrs
day days
week weeks
month months
year years yrs
decade decades
century centuries
kb kilobyte kilobytes
mb megabyte megabytes
gb gigabyte gigabytes
tb terabyte terabytes
byte bytes
bit bits
watt watts
kwh
volt volts
mph
kph kmh
calorie calories kcal
joule joules
pixel pixels px
bitcoin bitcoins btc
daily
weekly
monthly
yearly annually annual
hourly
""")
"""Words that are units wherever they stand, to their canonical form."""

UNITS_AFTER_NUMBER = UNITS | word_groups("""
mile mi
meter m
gram g
liter l
second seconds sec secs s
minute min
hour h hr
day d
week w wk
year y yr
foot feet ft
pound pounds
stone
cup cups
tablespoon tablespoons tbsp
teaspoon teaspoons tsp
celsius c °c
fahrenheit f °f
degree degrees deg °
ms millisecond milliseconds
watt w
volt v
knot knots
am a.m
pm p.m
k
m
bn
""")
"""The same directly behind a number, where short and ambiguous words are units too."""

NEGATIONS = word_set(
    "not no never none nor neither without cannot nobody nothing nowhere cant wont dont isnt arent "
    "wasnt werent doesnt didnt hasnt havent hadnt shouldnt wouldnt couldnt aint mustnt nt hardly "
    "barely except excluding unless lack lacks lacking fail fails failed"
)

PREFIXED = word_set("un in im il ir dis non de anti mis")
"""Prefixes that turn a word into its opposite where the bare word stands in the other text."""


TIMES = word_set(
    "today todays tonight yesterday tomorrow now nowadays currently latest newest recent recently "
    "upcoming presently lately"
)
"""Words that make an answer depend on when it is given; some turns of two words are added in the guard."""

ANAPHORA = word_set("it that this these those they them he she him its their theirs")

LIGHT = word_set(
    "tell explain show give repeat rewrite summarize summarise translate continue describe do make fix "
    "say compare shorten expand elaborate know mean try use get see help please want need again more "
    "same thing one ones way example examples what why how who where when which is are was were be "
    "does did can could should would will shall may might has have had a an the i you we me my your "
    "our us of in on at to for from with about by as and or but so if then else not no also too just "
    "ok okay yes thanks thank hi hello there still even only really correct true right wrong work "
    "works working happen happens happened other another"
)
"""Words that a pronoun cannot point to: where only these stand before it, it points at an earlier turn."""

FUNCTION = word_set(
    "a an the is are am was were be been being do does did done doing have has had having i you we they "
    "he she it me us them my your our their his her its mine yours ours this that these those there "
    "here what which who whom whose when where why how can could should would will shall may might "
    "must of in on at to for from with by about as into onto and or but if then so than not no any some "
    "s t d ll ve re m one someone anyone people person please just also too very really actually get "
    "got let lets us"
)
"""Words that say little about what is asked; they count as differences, not as content."""

STARTERS = (
    FUNCTION
    | LIGHT
    | word_set(
        "write list find create convert calculate compute define discuss name suggest recommend provide "
        "generate design draft build implement solve prove analyze analyse identify outline classify "
        "extract paraphrase correct edit proofread plan pick choose check evaluate consider imagine suppose "
        "assume given act answer sort count add remove delete install buy sell learn start stop open close "
        "best good most many much every all each both between since after before during while although "
        "because however today if in at under over hey dear sir quick question need looking trying "
        "difference meaning benefits advantages tips ways reasons steps"
    )
)
"""Words that begin a sentence without being a name."""

LANGUAGES = {
    "en": word_set("the is are what how do does of and to in for with my can i you why who"),
    "de": word_set("der die das ist sind was wie und ich nicht ein eine zu mit für kann den dem"),
    "fr": word_set("le la les est sont que quoi comment et je ne pas un une des du pour dans"),
    "es": word_set("el la los las es son qué que cómo como y yo no un una de para en por mi"),
    "it": word_set("il lo la gli è sono che cosa come e io non un una di per in con mio"),
    "pt": word_set("o os as é são que como e eu não um uma de para em por com meu do da"),
    "nl": word_set("de het is zijn wat hoe en ik niet een van voor met kan mijn in op te"),
}
"""Small words by which languages in Latin letters are told apart."""

NAMES = word_set(
    "afghanistan africa america american argentina asia australia australian austria bangladesh belgium "
    "brazil britain british bulgaria california canada canadian chile china chinese colombia croatia cuba "
    "denmark dutch egypt england english ethiopia europe european finland florida france french german "
    "germany ghana greece greek hungary iceland india indian indonesia iran iraq ireland irish israel "
    "italian italy japan japanese kenya korea korean malaysia mexican mexico morocco nepal netherlands "
    "nigeria norway pakistan pakistani peru philippines poland portugal portuguese romania russia russian "
    "scotland serbia singapore spain spanish sweden swedish switzerland swiss syria taiwan texas thailand "
    "tibet turkey turkish uganda uk ukraine usa venezuela vietnam wales zimbabwe amsterdam athens "
    "bangalore bangkok barcelona beijing berlin boston brussels cairo chennai chicago delhi dublin dubai "
    "hyderabad istanbul jakarta kolkata lisbon london madrid manila melbourne milan moscow mumbai munich "
    "nairobi oslo paris prague pune rome seattle seoul shanghai stockholm sydney tokyo toronto vienna "
    "warsaw zurich google facebook amazon microsoft apple twitter instagram whatsapp snapchat youtube "
    "linkedin netflix uber airbnb tesla samsung nokia sony intel nvidia oracle ibm wikipedia quora reddit "
    "android iphone ipad macbook windows linux ubuntu debian macos ios chrome firefox safari python java "
    "javascript typescript ruby rust golang kotlin swift scala perl php haskell matlab sql mysql postgres "
    "postgresql mongodb redis sqlite django flask react angular docker kubernetes excel photoshop hindi "
    "urdu bengali tamil telugu arabic hebrew latin mandarin cantonese islam muslim muslims christianity "
    "christian christians hindu hindus hinduism buddhism buddhist jewish judaism catholic mars venus "
    "jupiter saturn neptune pluto mercury einstein newton shakespeare hitler gandhi obama trump clinton "
    "putin modi"
)
"""Names that are known in lower case too; others are told by their capitals."""
