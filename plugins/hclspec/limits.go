package hclspec

import (
	"fmt"
	"strings"
)

// Limits of a config block. HCL's parser and evaluator recurse, and a Go stack
// that overflows cannot be recovered from: without limits one job file could
// end the agent.
const (
	maxNesting       = 64        // lists and blocks within each other
	maxTemplateBytes = 128 << 10 // a string with ${ or %{ in it
	maxBrackets      = 256       // brackets within each other in such a string
)

// checkSize refuses config that exceeds the limits.
func checkSize(value any, depth int) error {
	if depth == 0 {
		return &Error{Problems: []string{fmt.Sprintf("the config nests lists and blocks more than %d deep", maxNesting)}}
	}
	switch v := value.(type) {
	case map[string]any:
		for key, element := range v {
			if err := checkTemplate(key); err != nil {
				return err
			}
			if err := checkSize(element, depth-1); err != nil {
				return err
			}
		}
	case []any:
		for _, element := range v {
			if err := checkSize(element, depth-1); err != nil {
				return err
			}
		}
	case []map[string]any:
		for _, element := range v {
			if err := checkSize(element, depth-1); err != nil {
				return err
			}
		}
	case string:
		return checkTemplate(v)
	}
	return nil
}

// checkTemplate refuses a template that is too long or nests too deep.
func checkTemplate(text string) error {
	if !strings.Contains(text, "${") && !strings.Contains(text, "%{") {
		return nil
	}
	if len(text) > maxTemplateBytes {
		return &Error{Problems: []string{fmt.Sprintf(
			"a config string with ${...} has %d bytes: at most %d are allowed, use a template block instead", len(text), maxTemplateBytes)}}
	}
	depth := 0
	for _, c := range []byte(text) {
		switch c {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth = max(depth-1, 0)
		}
		if depth > maxBrackets {
			return &Error{Problems: []string{fmt.Sprintf("a config string with ${...} nests brackets more than %d deep", maxBrackets)}}
		}
	}
	return nil
}
