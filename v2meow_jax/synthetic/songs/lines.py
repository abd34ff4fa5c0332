"""Lines of chords by numerals, and bars in sixteenth notes, of several styles."""

POP_MAJOR = ('I V vi IV', 'I vi IV V', 'I IV vi V', 'I iii IV V', 'I IV I V')
POP_MINOR = ('i bVI bVII i', 'i bVII bVI V', 'i iv bVI V', 'i bVI iv V')
CLASSIC_MAJOR = ('I IV V I', 'I vi ii V', 'I V vi IV', 'I ii V I')
CLASSIC_MINOR = ('i iv V i', 'i bVI iv V', 'i V i V', 'i V bVI V')
JAZZ_MAJOR = ('Imaj7 vi7 ii7 V7', 'ii7 V7 Imaj7 I', 'Imaj7 IVmaj7 V7 I')
JAZZ_MINOR = ('i7 iv7 V7 i7', 'i7 bVImaj7 iih7 V7', 'i7 i7 iih7 V7')
ROCK_MAJOR = ('I bVII IV I', 'I IV I V', 'I V IV I', 'I V vi V')
LOOP_MINOR = ('i i bVI bVII', 'i v i bVII', 'i iv i i', 'i bVI i v')
LOOP_MAJOR = ('I I IV V', 'I IV I V', 'I vi I V')

HALVES = ('9.......7.......', '9...............')
QUARTERS = ('9...7...8...7...',)
EIGHTHS = ('9.7.8.7.9.7.8.7.', '9.6.7.6.8.6.7.6.')
SIXTEENTHS = ('9676867696768676',)
OFFBEATS = ('..8...8...8...8.',)
SPLIT = ('9..7..7.8..7..7.', '9.....8...7.....', '8..8..8...8.8...')
