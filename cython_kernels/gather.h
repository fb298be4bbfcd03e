/* Columns of a few rows, and the distinct ones among row numbers. */
#ifndef AGENTMEM_GATHER_H
#define AGENTMEM_GATHER_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* out[places[i]] = column[rows[i]], places NULL for i; items of 1, 4 or 8 bytes; rows are within the column. */
static void take_column(const void *column, int64_t item, const int64_t *rows, const int64_t *places, int64_t m,
                        void *out)
{
    for (int64_t i = 0; i < m; i++) {
        const int64_t place = places ? places[i] : i;
        if (item == 8)
            ((uint64_t *)out)[place] = ((const uint64_t *)column)[rows[i]];
        else if (item == 4)
            ((uint32_t *)out)[place] = ((const uint32_t *)column)[rows[i]];
        else
            ((uint8_t *)out)[place] = ((const uint8_t *)column)[rows[i]];
    }
}

static int within(const int64_t *rows, int64_t m, int64_t n)
{
    for (int64_t i = 0; i < m; i++)
        if ((uint64_t)rows[i] >= (uint64_t)n)
            return 0;
    return 1;
}

typedef struct {
    uint64_t number;
    int64_t place;
} numbered_t;

/* Sorts m numbers by counting bytes, the least first; spare: room for m.  Returns where they are then. */
static numbered_t *sort_numbers(numbered_t *numbers, numbered_t *spare, int64_t m)
{
    uint64_t every = 0;
    for (int64_t i = 0; i < m; i++)
        every |= numbers[i].number;
    for (int shift = 0; shift < 64 && every >> shift; shift += 8) {
        int64_t starts[257] = {0};
        for (int64_t i = 0; i < m; i++)
            starts[(numbers[i].number >> shift & 255) + 1]++;
        for (int digit = 0; digit < 256; digit++)
            starts[digit + 1] += starts[digit];
        for (int64_t i = 0; i < m; i++)
            spare[starts[numbers[i].number >> shift & 255]++] = numbers[i];
        numbered_t *sorted = spare;
        spare = numbers;
        numbers = sorted;
    }
    return numbers;
}

/* Sets the distinct numbers, ascending, and where among them each number stands; returns how many they are. */
static int64_t distinct_numbers(const int64_t *numbers, int64_t m, numbered_t *scratch, int64_t *distinct,
                                int64_t *places)
{
    for (int64_t i = 0; i < m; i++)
        scratch[i] = (numbered_t){(uint64_t)numbers[i], i};
    const numbered_t *sorted = sort_numbers(scratch, scratch + m, m);
    int64_t count = 0;
    for (int64_t i = 0; i < m; i++) {
        if (i == 0 || sorted[i].number != sorted[i - 1].number)
            distinct[count++] = (int64_t)sorted[i].number;
        places[sorted[i].place] = count - 1;
    }
    return count;
}

/* Sets the distinct numbers, ascending, and for each the bits of all that are equal to it; scratch: the m numbers, their
   places being bits, and room for m more.  Returns how many are distinct. */
static int64_t marked_numbers(numbered_t *scratch, int64_t m, int64_t *distinct, uint8_t *marks)
{
    const numbered_t *sorted = sort_numbers(scratch, scratch + m, m);
    int64_t count = 0;
    for (int64_t i = 0; i < m; i++) {
        if (i == 0 || sorted[i].number != sorted[i - 1].number) {
            distinct[count] = (int64_t)sorted[i].number;
            marks[count++] = 0;
        }
        marks[count - 1] |= (uint8_t)sorted[i].place;
    }
    return count;
}

#endif
