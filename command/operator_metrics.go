package command

import (
	"flag"
	"io"
	"net/url"
)

// operatorMetricsVerb shows the metrics of the agent.
func operatorMetricsVerb() *verb {
	var o format
	var pretty bool
	var kind string
	return &verb{
		path: "operator metrics", max: 0,
		short: "Show the metrics of the agent",
		flags: func(fs *flag.FlagSet) {
			o.define(fs)
			fs.BoolVar(&pretty, "pretty", false, "Indent the JSON.")
			fs.StringVar(&kind, "format", "", "Another `format`: pretty, or prometheus.")
		},
		run: func(c *cli, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if o.asked() {
				metrics, err := client.Metrics(c.ctx)
				if err != nil {
					return exitf(1, "Error querying metrics: %v", err)
				}
				return o.print(c.stdout, metrics)
			}
			params := url.Values{}
			switch {
			case kind == "prometheus":
				params.Set("format", kind)
			case kind == "pretty" || kind == "" && pretty:
				params.Set("pretty", "1")
			case kind != "":
				return exitf(1, "-format must be pretty or prometheus: got %q", kind)
			}
			resp, err := client.Raw(c.ctx, "GET", "/v1/metrics", nil, params)
			if err != nil {
				return exitf(1, "Error querying metrics: %v", err)
			}
			defer resp.Body.Close()
			if _, err := io.Copy(c.stdout, resp.Body); err != nil {
				return exitf(1, "Error reading metrics: %v", err)
			}
			if resp.StatusCode != 200 {
				return exitCode(1)
			}
			return nil
		},
	}
}
