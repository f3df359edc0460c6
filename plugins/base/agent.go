package base

import "github.com/nomadlite/nomadlite/plugins/proto/basepb"

// agentToProto converts what the agent tells a driver.
func agentToProto(c *AgentConfig) *basepb.NomadDriverConfig {
	out := &basepb.NomadDriverConfig{ClientMinPort: c.MinPort, ClientMaxPort: c.MaxPort}
	t := c.Topology
	if t == nil {
		return out
	}
	out.Topology = &basepb.ClientTopology{
		NodeIds:                t.NodeIDs,
		OverrideTotalCompute:   t.OverrideTotalCompute,
		OverrideWitholdCompute: t.OverrideWithheldCompute,
	}
	if len(t.Distances) > 0 {
		slit := &basepb.ClientTopologySLIT{Dimension: uint32(len(t.Distances))}
		for _, row := range t.Distances {
			slit.Values = append(slit.Values, row...)
		}
		out.Topology.Distances = slit
	}
	for _, core := range t.Cores {
		out.Topology.Cores = append(out.Topology.Cores, coreToProto(core))
	}
	return out
}

func coreToProto(c Core) *basepb.ClientTopologyCore {
	out := &basepb.ClientTopologyCore{
		SocketId:   c.SocketID,
		NodeId:     c.NodeID,
		CoreId:     c.CoreID,
		Disable:    c.Disabled,
		BaseSpeed:  c.BaseSpeed,
		MaxSpeed:   c.MaxSpeed,
		GuessSpeed: c.GuessSpeed,
	}
	if c.Efficiency {
		out.CoreGrade = basepb.CoreGrade_Efficiency
	}
	return out
}

// agentFromProto is the reverse of agentToProto. Distances that do not fill
// their square are dropped.
func agentFromProto(p *basepb.NomadDriverConfig) *AgentConfig {
	if p == nil {
		return nil
	}
	out := &AgentConfig{MinPort: p.GetClientMinPort(), MaxPort: p.GetClientMaxPort()}
	t := p.GetTopology()
	if t == nil {
		return out
	}
	out.Topology = &Topology{
		NodeIDs:                 t.GetNodeIds(),
		Distances:               square(t.GetDistances()),
		OverrideTotalCompute:    t.GetOverrideTotalCompute(),
		OverrideWithheldCompute: t.GetOverrideWitholdCompute(),
	}
	for _, c := range t.GetCores() {
		out.Topology.Cores = append(out.Topology.Cores, Core{
			SocketID:   c.GetSocketId(),
			NodeID:     c.GetNodeId(),
			CoreID:     c.GetCoreId(),
			Efficiency: c.GetCoreGrade() == basepb.CoreGrade_Efficiency,
			Disabled:   c.GetDisable(),
			BaseSpeed:  c.GetBaseSpeed(),
			MaxSpeed:   c.GetMaxSpeed(),
			GuessSpeed: c.GetGuessSpeed(),
		})
	}
	return out
}

// square cuts values into rows; nil where they do not make a square.
func square(p *basepb.ClientTopologySLIT) [][]uint32 {
	n, values := uint64(p.GetDimension()), p.GetValues()
	if n == 0 || n*n != uint64(len(values)) {
		return nil
	}
	rows := make([][]uint32, n)
	for i := range rows {
		rows[i] = values[uint64(i)*n : uint64(i+1)*n]
	}
	return rows
}
