# A cron job: one run every minute, never two at a time.
#
#   nomadlite job run docs/examples/cron.nomad.hcl
#   nomadlite job periodic force clock     # do not wait for the next minute
job "clock" {
  type = "batch"

  periodic {
    crons            = ["* * * * *"]
    time_zone        = "UTC"
    prohibit_overlap = true
  }

  group "clock" {
    task "tell" {
      driver = "raw_exec"

      config {
        command = "/bin/sh"
        args    = ["-c", "echo \"run $NOMAD_JOB_ID at $(date -u +%H:%M:%S)\""]
      }

      resources {
        cpu    = 20
        memory = 16
      }
    }
  }
}
