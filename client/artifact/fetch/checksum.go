package fetch

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
)

var hashes = map[string]func() hash.Hash{"md5": md5.New, "sha1": sha1.New, "sha256": sha256.New, "sha512": sha512.New}

// verify compares a file with the checksum of the source, where there is one.
func (j *job) verify(f *os.File) error {
	if j.Source.Sum.Type == "" {
		return nil
	}
	h := hashes[j.Source.Sum.Type]()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != j.Source.Sum.Hex {
		return passing{fmt.Errorf("%s of the file is %s, and the job wants %s: the file has changed, or the job's checksum is out of date", j.Source.Sum.Type, got, j.Source.Sum.Hex)}
	}
	return nil
}
