# A service: two instances that run until they are stopped, are restarted when
# they crash, and are replaced one at a time when this file changes.
#
#   nomadlite job run docs/examples/web.nomad.hcl
#
# It needs nothing but /bin/sh: the script stands in for a web server.
job "web" {
  type = "service"

  update {
    max_parallel     = 1
    health_check     = "task_states"
    min_healthy_time = "1s"
    healthy_deadline = "30s"
  }

  group "web" {
    count = 2

    network {
      port "http" {}
    }

    restart {
      attempts = 3
      interval = "1m"
      delay    = "1s"
      mode     = "delay"
    }

    task "server" {
      driver       = "raw_exec"
      kill_timeout = "5s"

      config {
        command = "/bin/sh"
        args = ["-c", <<-EOT
          trap 'echo "stopping"; exit 0' INT TERM
          echo "instance $NOMAD_ALLOC_INDEX serves port $NOMAD_PORT_http"
          n=0
          while true; do
            n=$((n + 1))
            echo "request $n"
            sleep 1 & wait $!
          done
        EOT
        ]
      }

      env {
        GREETING = "hello from ${NOMAD_JOB_NAME}"
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
