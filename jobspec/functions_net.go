package jobspec

import (
	"fmt"
	"math/big"
	"net"
	"net/netip"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

var prefixParam = function.Parameter{Name: "prefix", Type: cty.String}

func wholeParam(name string) function.Parameter {
	return function.Parameter{Name: name, Type: cty.Number}
}

var (
	cidrHostFunc = function.New(&function.Spec{
		Params: []function.Parameter{prefixParam, wholeParam("hostnum")},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			prefix, err := parsePrefix(args[0])
			if err != nil {
				return cty.NilVal, err
			}
			n, accuracy := args[1].AsBigFloat().Int(nil)
			if accuracy != big.Exact {
				return cty.NilVal, fmt.Errorf("hostnum must be a whole number")
			}
			addr, err := host(prefix, n)
			return cty.StringVal(addr.String()), err
		},
	})
	cidrNetmaskFunc = function.New(&function.Spec{
		Params: []function.Parameter{prefixParam},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			prefix, err := parsePrefix(args[0])
			if err != nil {
				return cty.NilVal, err
			}
			if !prefix.Addr().Is4() {
				return cty.NilVal, fmt.Errorf("only IPv4 networks have a netmask, not %s", prefix)
			}
			return cty.StringVal(net.IP(net.CIDRMask(prefix.Bits(), 32)).String()), nil
		},
	})
	cidrSubnetFunc = function.New(&function.Spec{
		Params: []function.Parameter{prefixParam, wholeParam("newbits"), wholeParam("netnum")},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			prefix, err := parsePrefix(args[0])
			if err != nil {
				return cty.NilVal, err
			}
			bits, err := newBits(prefix, args[1])
			if err != nil {
				return cty.NilVal, err
			}
			n, accuracy := args[2].AsBigFloat().Int(nil)
			if accuracy != big.Exact || n.Sign() < 0 || n.BitLen() > bits-prefix.Bits() {
				return cty.NilVal, fmt.Errorf("prefix extension of %d does not accommodate a subnet numbered %s", bits-prefix.Bits(), args[2].AsBigFloat().Text('g', 10))
			}
			return cty.StringVal(netip.PrefixFrom(offset(prefix, n, bits), bits).String()), nil
		},
	})
	cidrSubnetsFunc = function.New(&function.Spec{
		Params:   []function.Parameter{prefixParam},
		VarParam: &function.Parameter{Name: "newbits", Type: cty.Number},
		Type:     function.StaticReturnType(cty.List(cty.String)),
		Impl:     cidrSubnets,
	})
)

func parsePrefix(v cty.Value) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(v.AsString())
	if err != nil {
		return prefix, fmt.Errorf("invalid CIDR expression: %w", err)
	}
	return prefix.Masked(), nil
}

// newBits is the length of a subnet's prefix.
func newBits(prefix netip.Prefix, v cty.Value) (int, error) {
	n, accuracy := v.AsBigFloat().Int64()
	size := prefix.Addr().BitLen()
	if accuracy != big.Exact || n < 0 || n > int64(size-prefix.Bits()) {
		return 0, fmt.Errorf("insufficient address space to extend prefix of %d by %s", prefix.Bits(), v.AsBigFloat().Text('g', 10))
	}
	return prefix.Bits() + int(n), nil
}

// host is address number n of a network; negative numbers count from its end.
func host(prefix netip.Prefix, n *big.Int) (netip.Addr, error) {
	size := prefix.Addr().BitLen()
	total := new(big.Int).Lsh(big.NewInt(1), uint(size-prefix.Bits()))
	if n.Sign() < 0 {
		n = new(big.Int).Add(total, n)
	}
	if n.Sign() < 0 || n.Cmp(total) >= 0 {
		return netip.Addr{}, fmt.Errorf("prefix of %d does not accommodate a host numbered %s", prefix.Bits(), n)
	}
	return offset(prefix, n, size), nil
}

// offset adds n to a network's address, n counting units of a prefix length.
func offset(prefix netip.Prefix, n *big.Int, bits int) netip.Addr {
	size := prefix.Addr().BitLen()
	base := new(big.Int).SetBytes(prefix.Addr().AsSlice())
	base.Add(base, new(big.Int).Lsh(n, uint(size-bits)))
	raw := base.FillBytes(make([]byte, size/8))
	addr, _ := netip.AddrFromSlice(raw)
	return addr
}

// cidrSubnets lays out consecutive subnets of the given lengths, each aligned
// to its own size.
func cidrSubnets(args []cty.Value, _ cty.Type) (cty.Value, error) {
	prefix, err := parsePrefix(args[0])
	if err != nil {
		return cty.NilVal, err
	}
	if len(args) == 1 {
		return cty.ListValEmpty(cty.String), nil
	}
	size := prefix.Addr().BitLen()
	end := new(big.Int).Lsh(big.NewInt(1), uint(size-prefix.Bits()))
	next := new(big.Int) // the first free address, from the network's first
	var list []cty.Value
	for _, arg := range args[1:] {
		bits, err := newBits(prefix, arg)
		if err != nil {
			return cty.NilVal, err
		}
		unit := new(big.Int).Lsh(big.NewInt(1), uint(size-bits))
		n := new(big.Int).Add(next, new(big.Int).Sub(unit, big.NewInt(1)))
		n.Div(n, unit)
		next = new(big.Int).Mul(new(big.Int).Add(n, big.NewInt(1)), unit)
		if next.Cmp(end) > 0 {
			return cty.NilVal, fmt.Errorf("not enough remaining address space for a subnet with a prefix of %d bits", bits)
		}
		list = append(list, cty.StringVal(netip.PrefixFrom(offset(prefix, n, bits), bits).String()))
	}
	return cty.ListVal(list), nil
}
