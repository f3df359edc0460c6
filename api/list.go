package api

import (
	"cmp"
	"encoding/hex"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/nomadlite/nomadlite/structs"
)

// Key is how an item of a list is ordered, found by prefix and named by page
// tokens.
type Key struct {
	Namespace string
	ID        string
	// Index is the CreateIndex, of ListModified rows the ModifyIndex.
	Index uint64
}

// List makes one page of a list: it keeps the items that have the query's
// prefix and pass its filter, in the order of the row's kind, from the page
// token on, at most per_page of them, as shown by show. The slice is never
// nil; next names the first item of the next page, "" for none.
//
// Items of ListNamespaced rows must come ordered by namespace and id, those of
// ListUUID rows by id, those of ListCreated rows by CreateIndex (with a prefix
// in any order); then a page costs no more than the items before its end,
// unless reverse asks for all. Word is the noun in errors
// about prefixes: "alloc", "node", "eval" or "deployment".
func List[T, S any](r *Request, word string, items iter.Seq[T], key func(T) Key, show func(T) S) (page []S, next string, err error) {
	kind := r.Route.List
	streamed := !r.Query.Reverse && (kind == ListNamespaced || kind == ListUUID || kind == ListCreated && r.Query.Prefix == "")
	if kind == ListUUID || kind == ListCreated {
		if err := checkPrefix(word, r.Query.Prefix); err != nil {
			return nil, "", err
		}
		if kind == ListCreated && r.Query.Prefix != "" {
			kind = ListUUID
		}
	}
	order := orders[kind]
	start, err := order.parse(r.Query.NextToken)
	if err != nil {
		return nil, "", err
	}
	compare := order.compare
	if r.Query.Reverse != order.descending {
		compare = func(a, b Key) int { return order.compare(b, a) }
	}
	page = []S{}
	for item, k := range ordered(items, key, kind, compare, streamed, r.Query.Prefix) {
		if r.Query.NextToken != "" && compare(k, start) < 0 {
			continue
		}
		ok, err := r.filter.keep(item)
		if err != nil {
			return nil, "", err
		}
		if !ok {
			continue
		}
		if r.Query.PerPage > 0 && len(page) == r.Query.PerPage {
			return page, order.token(k), nil
		}
		page = append(page, show(item))
	}
	return page, "", nil
}

// order is what a kind of list means.
type order struct {
	compare    func(a, b Key) int
	descending bool // without reverse
	token      func(Key) string
	parse      func(string) (Key, error)
}

var orders = map[ListKind]order{
	ListName:       {compare: byID, token: idToken, parse: parseID},
	ListUUID:       {compare: byID, token: idToken, parse: parseID},
	ListNamespaced: {compare: byNamespace, token: namespaceToken, parse: parseNamespace},
	ListCreated:    {compare: byIndex, token: indexToken, parse: parseIndex},
	ListModified:   {compare: byIndex, descending: true, token: indexToken, parse: parseModify},
}

func byID(a, b Key) int { return cmp.Compare(a.ID, b.ID) }

func byNamespace(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.ID, b.ID))
}

func byIndex(a, b Key) int { return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.ID, b.ID)) }

func idToken(k Key) string        { return k.ID }
func namespaceToken(k Key) string { return k.Namespace + "." + k.ID }
func indexToken(k Key) string     { return strconv.FormatUint(k.Index, 10) + "." + k.ID }

func parseID(s string) (Key, error) { return Key{ID: s}, nil }

func parseNamespace(s string) (Key, error) {
	ns, id, _ := strings.Cut(s, ".")
	return Key{Namespace: ns, ID: id}, nil
}

func parseIndex(s string) (Key, error) {
	if s == "" {
		return Key{}, nil
	}
	number, id, _ := strings.Cut(s, ".")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return Key{}, structs.Errorf(structs.Invalid, "failed to create result paginator: cannot use next_token %q: it must begin with an index", s)
	}
	return Key{Index: n, ID: id}, nil
}

// parseModify also takes a bare index (obs), meaning all items that have it:
// in descending order they follow an id that is greater than every other.
func parseModify(s string) (Key, error) {
	k, err := parseIndex(s)
	if k.ID == "" {
		k.ID = "\xff"
	}
	return k, err
}

// ordered yields the items that have the prefix, in order. Streamed rows come in
// order already and are passed on as they come, those with the same index sorted
// by id among themselves, so that page tokens stay right when rows vanish.
func ordered[T any](items iter.Seq[T], key func(T) Key, kind ListKind, compare func(a, b Key) int, streamed bool, prefix string) iter.Seq2[T, Key] {
	type row struct {
		item T
		key  Key
	}
	byKey := func(a, b row) int { return compare(a.key, b.key) }
	return func(yield func(T, Key) bool) {
		var rows []row
		flush := func() bool {
			slices.SortStableFunc(rows, byKey)
			for _, r := range rows {
				if !yield(r.item, r.key) {
					return false
				}
			}
			rows = rows[:0]
			return true
		}
		for item := range items {
			k := key(item)
			if !strings.HasPrefix(k.ID, prefix) {
				continue
			}
			if streamed && len(rows) > 0 && (kind != ListCreated || rows[0].key.Index != k.Index) && !flush() {
				return
			}
			rows = append(rows, row{item, k})
		}
		flush()
	}
}

// uuidLength is the length of a printed UUID.
const uuidLength = 36

// checkPrefix holds prefixes of UUIDs to the contract's rules: an even number
// of hex digits, hyphens not counted (http-api.md 1.6). The status is 500.
func checkPrefix(word, prefix string) error {
	digits := strings.ReplaceAll(prefix, "-", "")
	switch {
	case len(prefix) > uuidLength:
		return structs.Errorf(structs.Internal, "%s lookup failed: index error: UUID must be at most %d characters", word, uuidLength)
	case len(digits)%2 != 0:
		return structs.Errorf(structs.Internal, "%s lookup failed: index error: Input (without hyphens) must be even length", word)
	}
	if _, err := hex.DecodeString(digits); err != nil {
		return structs.Errorf(structs.Internal, "%s lookup failed: index error: Invalid UUID: %w", word, err)
	}
	return nil
}

// CheckID holds the id in a path of a UUID-keyed noun to its length: short ids
// are found by prefix first. Word is as in List.
func CheckID(word, id string) error {
	if len(id) != uuidLength {
		return structs.Errorf(structs.Internal, "%s lookup failed: index error: UUID must be %d characters", word, uuidLength)
	}
	return nil
}
