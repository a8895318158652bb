"""Hold the sixty questions of `cascade demo`, six of each of ten kinds, with checkable answers.

How they were chosen: ten kinds of small everyday task and six questions of each were written before
any model was run on them.  The first three of each kind are the demo's (`DEMO`); on the last three
(`TUNING`) the demo's accept thresholds were picked, so the table that the demo prints is not
measured on the questions that its thresholds saw.  A kind was to be dropped only if no model of the
ladder did better at it than chance; none was.  After a first run the instruction that all questions
share was replaced by ten solved examples, because the models repeated its words, and the intent
questions lost their own examples to those; no question was swapped and no answer key was changed.
`docs/local-models.md` has the results of all sixty.
"""

from __future__ import annotations

from .tasks import (
    Question,
    about,
    asks,
    code_prints,
    how_many,
    intent,
    json_object,
    language,
    numbered,
    sentiment,
)

__all__ = ["DEMO", "KINDS", "QUESTIONS", "TUNING"]

QUESTIONS: tuple[Question, ...] = (
    *numbered(
        "sentiment",
        [
            sentiment("Best kettle I have owned; it boils fast and looks lovely.", "positive"),
            sentiment("It leaked on the second day and nobody answers my emails.", "negative"),
            sentiment("I expected to hate it, and I have used it every day since.", "positive"),
            sentiment("The lamp is fine if you enjoy sitting in the dark.", "negative"),
            sentiment("Comfortable, light, and worth every cent.", "positive"),
            sentiment("Would have been a great phone had the battery lasted an hour.", "negative"),
        ],
    ),
    *numbered(
        "intent",
        [
            intent("The courier left my parcel at the wrong house.", "delivery"),
            intent("Please refund the fee that you took from my card.", "billing"),
            intent("I forgot my password and the reset link has expired.", "login"),
            intent("The app closes by itself whenever I open a photo.", "bug"),
            intent("Why is the invoice higher than the price on your site?", "billing"),
            intent("Tracking has said 'out for dispatch' for nine days now.", "delivery"),
        ],
    ),
    *numbered(
        "language",
        [
            language("Je voudrais une tasse de thé, s'il vous plaît.", "French"),
            language("Wir haben den letzten Zug leider verpasst.", "German"),
            language("Domani andiamo al mare con i bambini.", "Italian"),
            language("Ik heb mijn sleutels weer thuis laten liggen.", "Dutch"),
            language("¿Dónde está la estación de trenes?", "Spanish"),
            language("Wczoraj przez cały dzień padał deszcz.", "Polish"),
        ],
    ),
    *numbered(
        "extract",
        [
            about(
                "Hello, this is Priya from the clinic. Write to us at desk@hillclinic.example or "
                "call 555-0134.",
                "What is the e-mail address?",
                "desk@hillclinic.example",
            ),
            about(
                "The lease between Otto Brandt and Mira Solano starts on 1 March and runs for two "
                "years; Mr Brandt is the landlord.",
                "What is the tenant's full name?",
                "Mira Solano",
            ),
            about(
                "Order 48213: two chairs at 60 euros each, delivery 15 euros. Total paid: 135 "
                "euros by card.",
                "What was paid in total, in euros? Give the number.",
                "135",
                check="number",
            ),
            about(
                "Flight KX 417 to Oslo now leaves from gate B22 at 17:40; gate A9 is closed.",
                "Which gate does the flight leave from?",
                "B22",
            ),
            about(
                "The committee met in Turin in 2019 and in Porto in 2022; the next meeting, in "
                "Graz, is in 2025.",
                "In which city did the committee meet in 2022?",
                "Porto",
            ),
            about(
                "Mix 200 g of flour with 3 eggs, then add half a litre of milk and a pinch of salt.",
                "How many eggs are needed? Give the number.",
                "3",
                check="number",
            ),
        ],
    ),
    *numbered(
        "json",
        [
            json_object(
                "Lena is 34 years old and lives in Bergen.", name="Lena", age=34, city="Bergen"
            ),
            json_object(
                "We would like to book a table for six under the name Okafor.",
                name="Okafor",
                people=6,
            ),
            json_object(
                "The blue mug costs 12 dollars and is sold out.",
                color="blue",
                price=12,
                in_stock=False,
            ),
            json_object("Room 207 is free and has two beds.", room=207, beds=2, free=True),
            json_object(
                "Marek wrote the report; Ines, his manager, will read it.",
                author="Marek",
                reader="Ines",
            ),
            json_object(
                "The train to Lyon takes 3 hours and leaves from platform 5.",
                destination="Lyon",
                hours=3,
                platform=5,
            ),
        ],
    ),
    *numbered(
        "arithmetic",
        [
            how_many("What is 27 + 48?", 75),
            how_many("What is 9 times 14?", 126),
            how_many(
                "A box holds 12 eggs. How many eggs are in 7 full boxes, less 5 broken ones?", 79
            ),
            how_many("What is 203 - 87?", 116),
            how_many("What is half of 386?", 193),
            how_many("Tickets cost 8 each and I pay for 6 with a 50 note. What is my change?", 2),
        ],
    ),
    *numbered(
        "facts",
        [
            asks("What is the capital of Australia?", "Canberra"),
            asks("Which planet is closest to the Sun?", "Mercury"),
            asks("What is the chemical symbol of potassium?", "K", check="exact"),
            asks("Who wrote the play Romeo and Juliet?", "Shakespeare"),
            asks("Which ocean lies between Africa and Australia?", "Indian", "Indian Ocean"),
            asks("In which country is the city of Marrakesh?", "Morocco"),
        ],
    ),
    *numbered(
        "reasoning",
        [
            about(
                "Tom is taller than Ana. Ana is taller than Raj.",
                "Who is the shortest? Give the name.",
                "Raj",
                check="exact",
            ),
            about(
                "The shop is open on weekdays from 9 to 18 and closed at weekends.",
                "Is the shop open on Saturday at 10? Answer yes or no.",
                "no",
                check="exact",
            ),
            asks("Which word does not belong: apple, pear, hammer, plum?", "hammer", check="exact"),
            about(
                "Every bolt in the tray is steel. Nothing made of steel is in the blue box.",
                "Can a bolt from the tray be in the blue box? Answer yes or no.",
                "no",
                check="exact",
            ),
            asks("If today is Thursday, what day is it in three days?", "Sunday", check="exact"),
            asks("What comes next: 3, 6, 12, 24? Give the number.", "48", check="number"),
        ],
    ),
    *numbered(
        "code",
        [
            code_prints("print(len([4, 8, 15]) + 1)", "4"),
            code_prints('print("cascade"[:3])', "cas"),
            code_prints("total = 0\nfor n in range(5):\n    total += n\nprint(total)", "10"),
            asks(
                "Which Python built-in function returns the largest item of a list?",
                "max",
                "max()",
                check="exact",
            ),
            asks(
                "Which SQL keyword removes duplicate rows from the result of a SELECT?",
                "DISTINCT",
                check="exact",
            ),
            code_prints("print(7 // 2, 7 % 2)", "3 1"),
        ],
    ),
    *numbered(
        "rewrite",
        [
            asks(
                "Write the date 5 March 2024 in the form YYYY-MM-DD.", "2024-03-05", check="exact"
            ),
            asks("Give the plural of the word 'leaf'.", "leaves", check="exact"),
            asks("What is the opposite of 'ancient'?", "modern", "new", "recent", check="exact"),
            asks(
                "Put these in alphabetical order, separated by commas: pear, apple, fig",
                "apple, fig, pear",
                "apple,fig,pear",
                check="exact",
            ),
            asks("Give the past tense of the verb 'to teach'.", "taught", check="exact"),
            asks("Write the number three hundred and seven in digits.", "307", check="number"),
        ],
    ),
)

KINDS: tuple[str, ...] = tuple(dict.fromkeys(q.kind for q in QUESTIONS))
DEMO: tuple[Question, ...] = tuple(q for q in QUESTIONS if int(q.id.rpartition("-")[2]) <= 3)
TUNING: tuple[Question, ...] = tuple(q for q in QUESTIONS if q not in DEMO)
