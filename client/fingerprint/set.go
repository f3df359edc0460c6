package fingerprint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// parseSet reads "0-3,6" into ascending numbers without repeats, none of them
// above limit. The empty text is the empty set.
func parseSet(s string, limit int) ([]uint16, error) {
	var out []uint16
	for _, part := range commaList(s) {
		low, high, isRange := strings.Cut(part, "-")
		first, err := parseNumber(low, limit)
		if err != nil {
			return nil, err
		}
		last := first
		if isRange {
			if last, err = parseNumber(high, limit); err != nil {
				return nil, err
			}
		}
		if last < first {
			return nil, fmt.Errorf("%q is not a range: write the smaller number first", part)
		}
		for n := first; n <= last; n++ {
			out = append(out, uint16(n))
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func parseNumber(s string, limit int) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || n < 0 || n > limit {
		return 0, fmt.Errorf("%q is not a number from 0 to %d", s, limit)
	}
	return n, nil
}

// formatSet is the reverse of parseSet.
func formatSet(numbers []uint16) string {
	var out []string
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		if i == j {
			out = append(out, strconv.Itoa(int(numbers[i])))
		} else {
			out = append(out, fmt.Sprintf("%d-%d", numbers[i], numbers[j]))
		}
		i = j + 1
	}
	return strings.Join(out, ",")
}
