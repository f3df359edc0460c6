# A job with variables: one task for each name, made by a dynamic block.
#
#   nomadlite job run -var 'names=["ada", "grace"]' docs/examples/variables.nomad.hcl
#   NOMAD_VAR_greeting=servus nomadlite job run docs/examples/variables.nomad.hcl
variable "greeting" {
  type        = string
  description = "What each task says."
  default     = "hello"

  validation {
    condition     = strlen(var.greeting) > 0
    error_message = "The greeting must not be empty."
  }
}

variable "names" {
  type    = list(string)
  default = ["world", "moon"]
}

variable "limits" {
  type = object({ cpu = number, memory = number })
  default = {
    cpu    = 20
    memory = 16
  }
}

locals {
  # Locals may refer to variables and to each other, in any order.
  line   = "${local.prefix} %s"
  prefix = title(var.greeting)
}

job "greetings" {
  type = "batch"

  group "all" {
    dynamic "task" {
      for_each = var.names
      labels   = ["greet-${task.value}"]

      content {
        driver = "raw_exec"

        config {
          command = "/bin/sh"
          args    = ["-c", "echo \"$LINE on ${node.unique.name}\""]
        }

        env {
          LINE = format(local.line, task.value)
        }

        resources {
          cpu    = var.limits.cpu
          memory = var.limits.memory
        }
      }
    }
  }
}
