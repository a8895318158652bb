# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""`scorers.arithmetic` for the equations that most answers state, two numbers and a result, in compiled code."""

from libc.math cimport fabs, isfinite

__all__ = ["blanked", "check_equations"]

cdef enum:
    KEPT = 0
    BLANK = 1
    OPENS = 2
    CLOSES = 3

# What a character becomes, and what kinds it belongs to.
cdef unsigned char meaning[128]
cdef unsigned char digit[128]
cdef unsigned char letter[128]
cdef unsigned char word[128]
cdef unsigned char space[128]  # any white space but a new line
cdef unsigned char passed[128]  # may stand between an expression and what is before it
cdef unsigned char inside[128]  # belongs to an expression, a new line included


cdef void _classify():
    cdef int i
    for i in range(128):
        digit[i] = 48 <= i <= 57
        letter[i] = 65 <= i <= 90 or 97 <= i <= 122
        word[i] = digit[i] or letter[i] or i == 95
        space[i] = i == 32 or i == 9 or 11 <= i <= 13 or 28 <= i <= 31
        meaning[i] = BLANK if letter[i] and i != 120 and i != 88 else KEPT
        passed[i] = False
        inside[i] = digit[i] or space[i]
    for i in b"$\\":
        meaning[i] = BLANK
    for i in b"[{":
        meaning[i] = OPENS
    for i in b"]}":
        meaning[i] = CLOSES
    for i in b" .*/)%+":
        passed[i] = True
    for i in b".+-*/()%xX\n":
        inside[i] = True


_classify()


def blanked(bytes text):
    """Return `_blank_words` of an ASCII text.

    Raises:
        ValueError: It is not ASCII.
    """
    cdef Py_ssize_t i, n = len(text)
    cdef const unsigned char *given = text
    cdef bytearray result = bytearray(text)
    cdef unsigned char *out = result
    cdef unsigned char c, before, after
    cdef bint alone
    for i in range(n):
        c = given[i]
        if c >= 128:
            raise ValueError("not ASCII")
        before = given[i - 1] if i else 0
        after = given[i + 1] if i + 1 < n else 0
        if after >= 128:
            raise ValueError("not ASCII")
        if c == 47:  # "km/h", but not "3 x/y": a slash between words
            alone = (before == 120 or before == 88) and not (i > 1 and letter[given[i - 2]])
            if letter[before] and letter[after] and not alone:
                out[i] = 32
        elif c == 120 or c == 88:
            if letter[before] or word[after]:
                out[i] = 32
        elif meaning[c] == BLANK:
            out[i] = 32
        elif meaning[c] == OPENS:
            out[i] = 40
        elif meaning[c] == CLOSES:
            out[i] = 41
    return bytes(result)


cdef inline bint _is(const unsigned char *table, unsigned char c) noexcept:
    return c < 128 and table[c]


cdef Py_ssize_t _number_before(const unsigned char *text, Py_ssize_t end, Py_ssize_t start) noexcept:
    """Return where the number that ends before `end` begins; `end` where there is none."""
    cdef Py_ssize_t i = end, point
    while i > start and _is(digit, text[i - 1]):
        i -= 1
    if i == end or i - 1 <= start or text[i - 1] != 46:
        return i
    point = i - 1
    i = point
    while i > start and _is(digit, text[i - 1]):
        i -= 1
    return i if i < point else point + 1


cdef inline Py_ssize_t _blanks_before(const unsigned char *text, Py_ssize_t end, Py_ssize_t start) noexcept:
    while end > start and _is(space, text[end - 1]):
        end -= 1
    return end


cdef bint _stands_alone(const unsigned char *text, Py_ssize_t begins, Py_ssize_t start) noexcept:
    """Whether nothing that belongs to an expression is before it."""
    cdef Py_ssize_t i = begins
    while i > start and _is(passed, text[i - 1]):
        i -= 1
    if i == start or text[i - 1] == 10 or not _is(inside, text[i - 1]):
        return True
    i = _blanks_before(text, begins, start)
    return i < begins and i > start and _is(digit, text[i - 1])


cdef Py_ssize_t _number_from(const unsigned char *text, Py_ssize_t begin, Py_ssize_t stop) noexcept:
    """Return where the number that begins there ends; `begin` where there is none."""
    cdef Py_ssize_t i = begin, point
    while i < stop and _is(digit, text[i]):
        i += 1
    if i >= stop or text[i] != 46:
        return i
    point = i
    i += 1
    while i < stop and _is(digit, text[i]):
        i += 1
    return i if i > point + 1 else point


cdef bint _is_part_of_more(const unsigned char *text, Py_ssize_t end, Py_ssize_t stop) noexcept:
    """Whether a result goes on, as a fraction or in per cent."""
    cdef Py_ssize_t i = end, begin
    if i < stop and text[i] == 37:
        return True
    while i < stop and (text[i] == 10 or _is(space, text[i])):
        i += 1
    if i >= stop or text[i] != 47:
        return False
    i += 1
    while i < stop and (text[i] == 10 or _is(space, text[i])):
        i += 1
    begin = i
    while i < stop and _is(digit, text[i]):
        i += 1
    return i > begin and not (i < stop and text[i] == 46)


cdef struct Equation:
    double a
    double b
    double value
    double stated


cdef bint _read_simple(bytes text, Py_ssize_t start, Py_ssize_t equals, Py_ssize_t window, Equation *out) except -1:
    """Read two numbers and a plain result, as `scorers.arithmetic._read_simple` does; whether they are there."""
    cdef Py_ssize_t length = len(text)
    cdef const unsigned char *t = text
    cdef Py_ssize_t stop = min(equals + window, length)
    cdef bint cut = equals + window <= length
    cdef Py_ssize_t second, second_end, first, first_end, begin, end
    cdef unsigned char operator
    second_end = _blanks_before(t, equals, start)
    second = _number_before(t, second_end, start)
    if second == second_end:
        return False
    first_end = _blanks_before(t, second, start)
    if first_end == start:
        return False
    operator = t[first_end - 1]
    if operator not in b"-+*/xX":
        return False
    first_end = _blanks_before(t, first_end - 1, start)
    first = _number_before(t, first_end, start)
    if first == first_end or not _stands_alone(t, first, start):
        return False
    if first > start and t[first - 1] == 44:
        return False
    begin = equals + 1
    while begin < stop and _is(space, t[begin]):
        begin += 1
    end = begin
    if end < stop and t[end] == 45:
        end += 1
    end = _number_from(t, end, stop)
    if end == begin or not _is(digit, t[end - 1]):
        return False
    if (cut and end == stop) or (end < length and t[end] == 44):
        return False
    if _is_part_of_more(t, end, stop):
        return False
    out.a, out.b = float(text[first:first_end]), float(text[second:second_end])
    if operator == 43:
        out.value = out.a + out.b
    elif operator == 45:
        out.value = out.a - out.b
    elif operator == 47:
        if out.b == 0.0:
            return False
        out.value = out.a / out.b
    else:
        out.value = out.a * out.b
    out.stated = float(text[begin:end])
    return isfinite(out.value)


cdef inline bint _near(double a, double b) noexcept:
    return fabs(a - b) <= max(0.006 * max(fabs(a), fabs(b)), 0.0051)


cdef bint _is_explained(double operand, known, trivial, list results) except -1:
    cdef double result, slack
    if operand in known or operand in trivial:
        return True
    for result in results:
        slack = 1e-6 * max(1.0, fabs(result))
        if operand == result or -slack < operand - result < slack:
            return True
    return False


def check_equations(bytes text, known, trivial, Py_ssize_t window, Py_ssize_t most, others):
    """Return what `scorers.arithmetic.check_arithmetic` tells of a text.

    Args:
        text: ASCII, its words blanked.
        known: Numbers that need no explanation, those that the prompt gives.
        trivial: The same, whoever gives them.
        window: Characters looked at left of "="; half as many right of it.
        most: Equations recomputed.
        others: Reads an equation that is not simple: (start, equals, next equals) -> (operands, value,
            stated, in per cent), or None.

    Returns:
        (results, wrong, operands, unexplained, whether the last is wrong, worst).
    """
    cdef Py_ssize_t wrong = 0, operands = 0, unexplained = 0, left_end = 0, position, following, start
    cdef bint last_wrong = False, percent
    cdef double worst = 0.0, operand
    cdef Equation found
    cdef list results = []
    position = text.find(b"=")
    while position >= 0 and len(results) < most:
        following = text.find(b"=", position + 1)
        start = position - window if position > left_end + window else left_end
        if _read_simple(text, start, position, window // 2, &found):
            numbers, percent = (found.a, found.b), False
        else:
            read = others(start, position, following)
            if read is None:
                left_end, position = position + 1, following
                continue
            numbers, found.value, found.stated, percent = read
        left_end, position = position + 1, following
        last_wrong = found.value != found.stated and not (
            _near(found.value, found.stated)
            or _near(found.value * 100, found.stated)
            or _near(found.value, found.stated * 100)
        )
        if last_wrong:
            wrong += 1
            worst = max(worst, fabs(found.value - found.stated) / max(1.0, fabs(found.stated)))
        for operand in numbers:
            operands += 1
            if not _is_explained(operand, known, trivial, results):
                unexplained += 1
        results.append(found.stated * 100 if percent else found.stated)
    return results, wrong, operands, unexplained, last_wrong, worst
