package jobspec

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
)

// Limits of one source, checked before the HCL parser sees it, because its
// recursion and what it allocates grow with the input: about 200 bytes a token.
const (
	MaxSourceSize = 10 << 20 // bytes
	maxDepth      = 100      // brackets, quotes and templates inside each other
	maxOperators  = 1000     // operators of one expression
	maxTokens     = 400_000  // words and signs of a file
	maxWhole      = 80_000   // words and signs that must be held at once
	maxValues     = 1000_000 // words and signs of the API's JSON
	maxBlocks     = 20_000   // blocks of a file, made by dynamic ones or written
	maxProblems   = 200      // errors after which decoding stops
)

// checkSource finds sources that are too large, too deep or too long-winded to
// parse in bounded memory. It follows strings, heredocs, comments and templates
// closely enough that no harmless file is refused.
// tokens is how many words and signs it may have.
func checkSource(source []byte, name string, isJSON bool, tokens int) hcl.Diagnostics {
	if len(source) > MaxSourceSize {
		return tooMuch(name, 1, "Source is too large", "The file has more than 10 MiB.")
	}
	s := newScanner(source, 1, isJSON)
	for s.pos < len(s.source) && len(s.frames) <= maxDepth && s.tokens <= tokens && s.operators <= maxOperators {
		s.step()
	}
	switch {
	case len(s.frames) > maxDepth:
		return tooMuch(name, s.line, "Nesting is too deep", fmt.Sprintf("Blocks, lists, objects and templates may be nested up to %d levels.", maxDepth))
	case s.tokens > tokens:
		return tooMuch(name, s.line, "Source has too many parts", fmt.Sprintf("It has more than %d words and signs: split the job, or generate lists with for expressions.", tokens))
	case s.operators > maxOperators:
		return tooMuch(name, s.line, "Expression is too long", fmt.Sprintf("An expression may have up to %d operators.", maxOperators))
	case len(s.frames) > 1 && len(source) > wholeSize:
		return tooMuch(name, s.top().line, "Unclosed block, bracket or quote", "What is opened in this line has no end before the end of the file.")
	}
	return nil
}

func tooMuch(name string, line int, summary, detail string) hcl.Diagnostics {
	at := hcl.Pos{Line: line, Column: 1}
	return hcl.Diagnostics{problem(hcl.Range{Filename: name, Start: at, End: at}, summary, "%s", detail)}
}
