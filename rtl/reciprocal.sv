/// Scale of a hidden vector from its maximum: the left shift that brings the maximum to 32 significant bits, and
/// floor(127 * 2^24 / top sixteen bits of the shifted maximum), by restoring division.
/// `done_o` comes 17 cycles after `start_i`; the results stay until the next start. A maximum of zero gives zero.
module reciprocal (
    input  logic        clk_i,
    input  logic        rst_ni,
    input  logic        start_i,
    input  logic [31:0] maximum_i,
    output logic        done_o,
    output logic [ 4:0] shift_o,
    output logic [15:0] reciprocal_o
);

  logic [4:0] shift_d, shift_q;
  logic [15:0] divisor_d, divisor_q, quotient_q;
  logic [15:0] remainder_q;
  logic [16:0] doubled;
  logic [4:0] count_q;
  logic busy_q, done_q;
  logic fits;
  logic [31:0] shifted;

  always_comb begin
    shift_d = 5'd31;
    for (int unsigned i = 0; i < 32; i++) begin
      if (maximum_i[i]) shift_d = 5'(31 - i);
    end
    shifted = maximum_i << shift_d;
    divisor_d = shifted[31:16];
  end

  // The quotient has 16 bits, and the dividend's low 16 bits are zero: start from its top and divide 16 times.
  assign doubled = {remainder_q, 1'b0};
  assign fits = doubled >= {1'b0, divisor_q};

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_q <= 1'b0;
      done_q <= 1'b0;
      count_q <= '0;
      shift_q <= '0;
      divisor_q <= '0;
      quotient_q <= '0;
      remainder_q <= '0;
    end else begin
      done_q <= 1'b0;
      if (start_i) begin
        busy_q <= 1'b1;
        count_q <= '0;
        shift_q <= shift_d;
        divisor_q <= divisor_d;
        quotient_q <= '0;
        remainder_q <= 16'(127 << 8);
      end else if (busy_q) begin
        quotient_q <= {quotient_q[14:0], fits};
        remainder_q <= fits ? 16'(doubled - {1'b0, divisor_q}) : doubled[15:0];
        count_q <= count_q + 1'b1;
        if (count_q == 5'd15) begin
          busy_q <= 1'b0;
          done_q <= 1'b1;
          if (divisor_q == '0) quotient_q <= '0;
        end
      end
    end
  end

  assign done_o = done_q;
  assign shift_o = shift_q;
  assign reciprocal_o = quotient_q;

endmodule
