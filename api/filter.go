package api

import (
	"errors"
	"strings"

	"github.com/hashicorp/go-bexpr"
	"github.com/mitchellh/pointerstructure"

	"github.com/nomadlite/nomadlite/structs"
)

// Limits of a filter (reliability.md 1d). The parser may look at a part of the
// text many times; maxFilterSteps bounds that.
const (
	maxFilter      = 4 << 10
	maxFilterDepth = 50
	maxFilterSteps = 1_000_000
)

// filter keeps the items that an expression matches. Selectors are the names
// of Go fields and the keys of maps; an item that lacks one does not match.
// The nil filter keeps everything.
type filter struct{ eval *bexpr.Evaluator }

func newFilter(text string) (*filter, error) {
	if text == "" {
		return nil, nil
	}
	if err := checkFilter(text); err != nil {
		return nil, err
	}
	eval, err := bexpr.CreateEvaluator(text, bexpr.WithMaxExpressions(maxFilterSteps))
	if err != nil {
		return nil, structs.Errorf(structs.Invalid, "failed to create result paginator: failed to read filter expression: %w", err)
	}
	return &filter{eval}, nil
}

func (f *filter) keep(item any) (bool, error) {
	if f == nil {
		return true, nil
	}
	ok, err := f.eval.Evaluate(item)
	// The second is a selector that goes through a nil pointer.
	if errors.Is(err, pointerstructure.ErrNotFound) || errors.Is(err, pointerstructure.ErrInvalidKind) {
		return false, nil
	}
	if err != nil {
		return false, structs.Errorf(structs.Invalid, "failed to read result page: %w", err)
	}
	return ok, nil
}

// Matcher compiles a filter expression that came in a body.
func Matcher(text string) (func(item any) (bool, error), error) {
	f, err := newFilter(text)
	if err != nil {
		return nil, err
	}
	return f.keep, nil
}

func checkFilter(text string) error {
	if len(text) > maxFilter {
		return structs.Errorf(structs.Invalid, "failed to create result paginator: filter expression is longer than %d bytes", maxFilter)
	}
	depth, nots := 0, strings.Count(text, "not")
	for _, c := range text {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth > maxFilterDepth || nots > maxFilter/8 {
			return structs.Errorf(structs.Invalid, "failed to create result paginator: filter expression is nested deeper than %d levels", maxFilterDepth)
		}
	}
	return nil
}
