# frozen_string_literal: true

Gem::Specification.new do |spec|
  spec.name = "k_payments_webhooks"
  spec.version = "0.1.0"
  spec.summary = "Verify K-Payments webhooks, and process each event once."
  spec.authors = ["K-Payments"]
  spec.license = "MIT"
  spec.required_ruby_version = ">= 3.0"
  spec.files = Dir["lib/**/*.rb", "README.md"]
  spec.metadata = { "rubygems_mfa_required" => "true" }
end
