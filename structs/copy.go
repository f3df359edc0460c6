package structs

import "reflect"

// Copy returns a job that shares nothing with j.
func (j *Job) Copy() *Job { return deepCopy(j) }

// Copy returns an allocation that shares nothing with a but its job, which is
// never changed.
func (a *Allocation) Copy() *Allocation {
	if a == nil {
		return nil
	}
	own := *a
	own.Job = nil
	c := deepCopy(&own)
	c.Job = a.Job
	return c
}

// Copy returns a node that shares nothing with n.
func (n *Node) Copy() *Node { return deepCopy(n) }

// deepCopy copies a noun with everything below it.
func deepCopy[T any](p *T) *T {
	if p == nil {
		return nil
	}
	out := new(T)
	copyInto(reflect.ValueOf(out).Elem(), reflect.ValueOf(p).Elem())
	return out
}

// copyInto sets dst, a zero value, to a deep copy of src. Structs with
// unexported fields (time.Time) are values and copied as such.
func copyInto(dst, src reflect.Value) {
	dst.Set(src)
	switch src.Kind() {
	case reflect.Pointer:
		if !src.IsNil() {
			dst.Set(reflect.New(src.Type().Elem()))
			copyInto(dst.Elem(), src.Elem())
		}
	case reflect.Struct:
		for i := range src.NumField() {
			if f := dst.Field(i); f.CanSet() {
				copyInto(f, src.Field(i))
			}
		}
	case reflect.Slice:
		if src.IsNil() {
			return
		}
		dst.Set(reflect.MakeSlice(src.Type(), src.Len(), src.Len()))
		for i := range src.Len() {
			copyInto(dst.Index(i), src.Index(i))
		}
	case reflect.Map:
		if src.IsNil() {
			return
		}
		dst.Set(reflect.MakeMapWithSize(src.Type(), src.Len()))
		for iter := src.MapRange(); iter.Next(); {
			elem := reflect.New(src.Type().Elem()).Elem()
			copyInto(elem, iter.Value())
			dst.SetMapIndex(iter.Key(), elem)
		}
	case reflect.Interface:
		if !src.IsNil() {
			elem := reflect.New(src.Elem().Type()).Elem()
			copyInto(elem, src.Elem())
			dst.Set(elem)
		}
	}
}
